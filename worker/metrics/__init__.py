"""Metrics for Prometheus: read from database and broker at each scrape; nothing is kept but counters.

The truth is in SQL, so one exporter speaks for all workers, whichever of them live: there is nothing to
collect from them. Three kinds of figures, each as cheap as it can be:

* *Gauges* are read at each scrape, by one look at an index or at a small table each.
* *Counts of everything kept* walk an index, so scrapes repeat them until they are a minute old.
* *Counters and histograms* are fed from rows that are only ever added (attempts, transitions, rejections):
  each scrape reads what is new by its primary key. Figures "of the last minutes" were the other way; they
  would need an index on a time that no worker needs, and Prometheus could neither rate nor aggregate them.
  Counting what is kept would not do either: it shrinks when `suno.prune` deletes.

Hence the limits: a counter begins with zero when its exporter starts, and what happens while none runs is not
counted; Prometheus treats both as any restart. Two exporters count the same events: run one for a database.

Labels are closed sets: statuses, states, words of ours, and the names of gateways, which operators choose.
Never an origin, a task id or an address: strangers choose those.
"""
