"""One class per metric kind: allowed values, priors, posterior and wording."""
