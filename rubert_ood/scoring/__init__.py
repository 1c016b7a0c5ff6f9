"""How a plan becomes parts: encode, score, write, on Ray or in this process."""
