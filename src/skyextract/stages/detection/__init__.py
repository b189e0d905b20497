"""Filtering, thresholding, labelling and deblending."""
