"""Two results side by side: whether they can be compared, what differs, and whether that is more than noise."""
