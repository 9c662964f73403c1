// From the bytes of the live stream to what is cached.
import { QueryClient } from '@tanstack/react-query';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Drawn } from '../chart/shape';
import { readArrival } from './live';
import { Patcher, patchElement } from './patch';
import { SseReader } from './sse';
import type { Element } from './types';

describe('an event stream', () => {
  const text =
    'id: 7\nevent: points\ndata: {"a":1}\ndata: 2\n\n: heartbeat\n\nevent: points\r\ndata: x\r\n\r\n';

  it('gives the same events wherever the network cuts it', () => {
    const whole = new SseReader().push(text);
    expect(whole).toEqual([
      { id: '7', event: 'points', data: '{"a":1}\n2' },
      { id: '7', event: 'points', data: 'x' },
    ]);
    for (let cut = 1; cut < text.length; cut++) {
      const reader = new SseReader();
      expect([...reader.push(text.slice(0, cut)), ...reader.push(text.slice(cut))], `cut at ${cut}`).toEqual(
        whole,
      );
    }
  });

  it('an arrival is believed only if it has its shape', () => {
    expect(readArrival('{"element":"e","time_us":[1],"value":[2]}')).toEqual({
      element: 'e',
      time_us: [1],
      value: [2],
      flag: [],
    });
    for (const bad of ['', 'null', '{}', '[]', '{"element":1,"time_us":[],"value":[]}']) {
      expect(readArrival(bad)).toBeNull();
    }
  });
});

const element: Element = {
  id: 'elm_1',
  name: 'Level',
  unit: 'm',
  digits: 2,
  kind: 'measured',
  value_kind: 'number',
  created: '2026-01-01T00:00:00Z',
  latest: { time: '2026-01-01T00:00:10.000Z', value: 1, flag: 2 },
};
const at = (seconds: number) => (Date.parse('2026-01-01T00:00:00Z') + seconds * 1_000) * 1_000;
const arrival = (time_us: number[], value: number[]) => ({
  element: 'elm_1',
  time_us,
  value,
  flag: value.map(() => 2),
});

describe('the latest value', () => {
  it('is the newest by its own time, not by when it came', () => {
    expect(patchElement(element, arrival([at(12), at(11)], [5, 6])).latest).toMatchObject({ value: 5 });
    expect(patchElement(element, arrival([at(9)], [5]))).toBe(element);
    expect(patchElement({ ...element, id: 'elm_2' }, arrival([at(12)], [5])).latest).toMatchObject({
      value: 1,
    });
    expect(patchElement({ ...element, latest: null }, arrival([at(1)], [5])).latest).toMatchObject({
      value: 5,
    });
  });
});

describe('the cache', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  const drawn: Drawn = {
    from: 0,
    to: 0,
    raw: true,
    widthMs: 0,
    count: 1,
    t: [at(10) / 1_000],
    mean: [1],
    min: [1],
    max: [1],
    n: [1],
    flag: [2],
    gaps: [],
    lastMs: at(10) / 1_000,
  };
  const live = ['points', 'prj', 'elm_1', { kind: 'last', spanMs: 60_000 }, 500];
  const fixed = ['points', 'prj', 'elm_1', { kind: 'fixed', from: at(0) / 1_000, to: at(20) / 1_000 }, 500];

  function watched(key: unknown[], read: () => Promise<Drawn>) {
    const client = new QueryClient();
    client.setQueryData(['elements', 'prj'], { items: [element] });
    client.setQueryData(key, drawn);
    const query = client.getQueryCache().find<Drawn>({ queryKey: key });
    if (!query) throw new Error('the query was just made');
    vi.spyOn(query, 'isActive').mockReturnValue(true);
    const invalidate = vi
      .spyOn(client, 'invalidateQueries')
      .mockImplementation(async () => void (await read()));
    return { client, patcher: new Patcher(client, 'prj'), invalidate };
  }

  it('live pictures and lists follow a new point at once', () => {
    const { client, patcher, invalidate } = watched(live, async () => drawn);
    patcher.points(arrival([at(11)], [7]));
    expect(client.getQueryData<Drawn>(live)?.mean).toEqual([1, 7]);
    expect(client.getQueryData<{ items: Element[] }>(['elements', 'prj'])?.items[0]?.latest?.value).toBe(7);
    vi.runAllTimers();
    expect(invalidate).not.toHaveBeenCalled();
  });

  it('late data is read again, once for a burst', () => {
    const { patcher, invalidate } = watched(live, async () => drawn);
    for (let i = 0; i < 50; i++) patcher.points(arrival([at(5)], [i]));
    vi.runAllTimers();
    expect(invalidate).toHaveBeenCalledTimes(1);
  });

  it('a fixed picture is read again only when the point is inside it', () => {
    const { client, patcher, invalidate } = watched(fixed, async () => drawn);
    patcher.points(arrival([at(30)], [7]));
    vi.runAllTimers();
    expect(invalidate).not.toHaveBeenCalled();
    patcher.points(arrival([at(15)], [7]));
    vi.runAllTimers();
    expect(invalidate).toHaveBeenCalledTimes(1);
    expect(client.getQueryData<Drawn>(fixed)?.mean).toEqual([1]);
  });
});
