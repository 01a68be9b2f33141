"""The command line `experiment`: one module a command, registered in `main`."""
