// Opens the project's live stream for everything below it, feeds the cache, and tells how the stream is doing.
import { useQueryClient } from '@tanstack/react-query';
import { createContext, type ReactNode, useContext, useEffect, useState } from 'react';
import { type LiveState, openLive } from './live';
import { Patcher } from './patch';
import { meQuery } from './queries';

const Context = createContext<LiveState>('connecting');

export function useLiveState(): LiveState {
  return useContext(Context);
}

export function LiveProvider({ project, children }: { project: string; children: ReactNode }) {
  const client = useQueryClient();
  const [state, setState] = useState<LiveState>('connecting');
  useEffect(() => {
    const patcher = new Patcher(client, project);
    const live = openLive(project, {
      points: (arrival) => patcher.points(arrival),
      missed: () => patcher.missed(),
      state: (next) => {
        setState(next);
        // Refused means signed out or no longer a member: the pages find out by asking who we are.
        if (next === 'refused') void client.invalidateQueries({ queryKey: meQuery.queryKey });
      },
    });
    return () => {
      live.stop();
      patcher.stop();
    };
  }, [client, project]);
  return <Context value={state}>{children}</Context>;
}
