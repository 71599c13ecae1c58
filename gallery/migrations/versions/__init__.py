"""The migration steps, one file each; append the next number and never change an existing one."""
