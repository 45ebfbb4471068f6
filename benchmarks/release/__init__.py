"""How the shipped models come about; runs from a checkout, is not part of the wheel.

`catalogue` says which models there are, `campaign` trains and ships them.
"""
