"""Which run readers see: the gate, the pointers, and the way back."""
