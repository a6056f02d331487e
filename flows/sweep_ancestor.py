"""Imported first by the process that a sweep's workers are forked from, and by no other."""

from shotwise.leaving import leave_at_once_in_the_end

leave_at_once_in_the_end()
