"""Words and numbers everything else is written in. Pure; imports nothing of ours."""
