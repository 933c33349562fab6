"""What every program of the project needs of Python and the file system. Standard library only."""
