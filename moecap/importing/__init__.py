"""Results of other tools as moecap results: what their files say, and null with the reason for what they do not."""
