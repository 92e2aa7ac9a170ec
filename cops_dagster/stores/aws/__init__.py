"""Calling AWS. Belongs here: every call of boto3, and AWS's failures as coded errors.

Does not belong here: what an answer means for the month. Start with `call`, which every other module makes
its client with; boto3 is imported in this folder alone.
"""
