import sys, time, threading
sys.path[:0]=["tests","devcluster/src"]
from concurrent.futures import ThreadPoolExecutor
from faults.harness.plane import Plane
from faults.harness.actors import Actors
from faults.harness.telling import Teller
from faults.harness.flows import FLOWS
from faults.harness.operators import Zygote
want=sys.argv[2:]
n=int(sys.argv[1])
t=time.time()
with Plane() as plane, Actors(plane) as actors:
    print("plane", time.time()-t)
    Zygote.shared()
    teller=Teller(plane,actors)
    flows=[f for f in FLOWS if not want or f.name in want]
    t=time.time()
    with ThreadPoolExecutor(n) as pool:
        both=[(f,pool.submit(teller.tell,f),pool.submit(teller.tell,f)) for f in flows]
        for f,a,b in both:
            a,b=a.result(),b.result()
            print(f.name, len(a.writes),len(b.writes), a.calls, b.calls, f"{a.finished_at:.1f} {b.finished_at:.1f}", flush=True)
            for line in b.compared_with(a): print("    ",line)
            if b.violations or a.violations:print((a if a.violations else b).timeline)
    print("all", time.time()-t)
    Zygote.close_shared()
