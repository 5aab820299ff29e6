"""The auditor's ten questions, each answered from an export that was verified.

``intakes`` answers 1, 3 and 4; ``times`` answers 2 and 6; ``proof`` answers 5, 7 and 8;
``owners`` answers 9 and 10.
"""
