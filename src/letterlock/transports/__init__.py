"""The ways out: one module or folder for each transport, and the table of what each can do."""
