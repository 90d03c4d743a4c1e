"""The whole command on real servers. What each stage does is tested in the stages' folders."""
