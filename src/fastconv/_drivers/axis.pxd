# Which axis is which. A geometry has three, in the order of memory: what is written for an axis is
# written once, in a loop or a function of one.
from fastconv._drivers.geometry cimport Axis

cdef enum:
    D = 0     # depth
    H = 1     # height
    W = 2     # width
    AXES = 3
