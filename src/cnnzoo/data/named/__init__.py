"""The named datasets: ``catalog`` lists them, ``locate`` finds one on this machine, else ``download`` fetches it.

``formats`` reads their files. The rest of the package uses ``catalog`` and ``locate``.
"""
