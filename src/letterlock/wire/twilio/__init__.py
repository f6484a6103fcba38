"""What software written for Twilio's Messages API sends and expects: ids, forms, signatures. No I/O."""
