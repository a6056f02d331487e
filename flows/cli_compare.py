"""tmp"""
COMMANDS = ()
