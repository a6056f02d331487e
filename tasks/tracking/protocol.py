"""The words between a driver and its tracking process, a line each.

`+RUN` begins and `-RUN` ends the tracking of a run; an end is answered by `complete RUN` or `incomplete RUN`.
Imports nothing, for the driver reads it before all else.
"""

BEGIN, END = "+", "-"
COMPLETE, INCOMPLETE = "complete", "incomplete"
