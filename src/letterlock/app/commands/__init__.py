"""The commands of the command line, one module a subject. What a command needs is imported when it runs."""
