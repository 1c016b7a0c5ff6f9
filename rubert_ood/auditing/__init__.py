"""Which labels of labelled ads are probably wrong."""
