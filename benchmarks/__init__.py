"""Programs that time cnnzoo, alone and beside other tools; ``docs/performance.md`` names each with its figures."""
