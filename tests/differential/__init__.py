"""Random small models in triarch and in real Keras.

`programs` draws a model with its data from `layer_table` and `heads`, `forms` hands the data over in the ways that
people do, `runs` computes everything that a library makes of it, `comparison` judges.
"""
