"""What a scoring node needs of the network: tokens, windows, the forward pass, sub-heads."""
