"""The log read again: the same folds, compared with what is live, or under other assumptions."""
