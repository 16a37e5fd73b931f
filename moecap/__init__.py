"""moecap measures how Mixture-of-Experts language models run: cost, accuracy and performance.

The pieces, in the order in which data flows through them:

``moecap.config``     what a run is asked to do
``moecap.models``     what a model is made of, read from its ``config.json``
``moecap.hardware``   what a device can do: datasheet profiles and probed peaks
``moecap.runner``     drives a backend and stores what was observed
``moecap.metrics``    pure functions from observations to numbers
``moecap.result``     the result file and its verification
``moecap.report``     the page that shows it
``moecap.publishing.submission`` what of it goes to a leaderboard
``moecap.client``     a leaderboard's API
"""

__version__ = "0.2.0.dev0"

__all__ = ["__version__"]
