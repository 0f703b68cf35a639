"""The command line: arguments to calls, errors to one message and an exit status."""
