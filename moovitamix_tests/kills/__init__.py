"""The kill campaign: the main job killed again and again, then compared with one never killed.

`python -m moovitamix_tests.kills --kills 200` runs it. The package itself has no hook for it: the
command line is run here with its stores wrapped (`points.py`), in processes of its own
(`victims.py`); which kill comes when is told in `campaign.py`, what must hold in `examination.py`,
why each training that is killed has a home of its own in `training.py`.
"""
