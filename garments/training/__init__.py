"""Fit a network, calibrate it, choose its threshold, and write its model folder.

Whoever needs a part imports its module: some take seconds to load, since they load Keras.
"""
