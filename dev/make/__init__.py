"""Commands for the shell: the converter of calls, and what makes templates and pictures."""
