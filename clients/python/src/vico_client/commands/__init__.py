"""What the commands of this distribution share: options, outcomes, pictures in the terminal."""
