"""SMS as bytes and objects: alphabets, segmentation, SMPP 3.4, receipts, sessions. Sans-IO, strict, bounded."""
