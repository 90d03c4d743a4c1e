"""Stage three: features, user-item matrix, ALS model, its evaluation and the champion."""
