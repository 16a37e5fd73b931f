"""What a run observed: the schemas of its files, the recorder that fills them, the reader that checks them."""
