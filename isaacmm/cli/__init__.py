"""The command line: composing the configuration, run folders, messages, signals."""
