"""Two runs side by side: what differs, in bounded memory."""
