"""Dead letters after they were written: reading them, and sending again what they hold."""
