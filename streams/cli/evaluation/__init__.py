"""`experiment evaluate`: what another policy would have earned."""
