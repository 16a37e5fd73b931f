"""The pages: one module a page, in the frame of :mod:`moecap_leaderboard.pages.site`."""
