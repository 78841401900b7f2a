"""Whole programs that use the project as its users do: through the command `vico` and the client SDK."""
