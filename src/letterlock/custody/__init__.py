"""Who may open what: key stores, storage-key generations, sealing, the vault."""
