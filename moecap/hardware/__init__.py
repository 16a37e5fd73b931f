"""What a device can do: profiles from datasheets, what this machine is, and its probed peaks.

``profile``   the record of one device and its peaks
``registry``  profiles by name or file
``host``      this host, read from ``/proc`` and ``/sys``
``detect``    this machine's accelerators and host
``kernels``   what the probe runs
``probe``     measured peaks of this host, cached
``resolve``   from ``--hw`` to the hardware of a run
"""
