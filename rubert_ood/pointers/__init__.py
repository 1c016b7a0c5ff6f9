"""Small files that name one folder among others: the run that readers see, the champion."""
