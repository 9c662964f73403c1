// A device's clock: records that are held, steps that somebody should decide on, and what got other times.
// Shown only where there is something to see; who may not write sees it without the buttons.
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { useState } from 'react';
import { api, call } from '../api/client';
import { Refused } from '../api/problem';
import { clockQuery } from '../api/queries';
import type { ClockProposal, ClockStamp, HeldRecords } from '../api/types';
import { t } from '../i18n/t';
import { formatMoment } from '../time/format';
import { Button, TextField } from '../ui/controls';
import { Panel } from '../ui/Page';
import { Failed } from '../ui/states';
import { useMayWrite } from '../ui/useMayWrite';
import { errorWords, openProposals, passedWords, recordsWords, shiftWords } from './clockWords';

interface Place {
  project: string;
  device: string;
  zone: string;
}

export function DeviceClockPanel({ project, device, zone }: Place) {
  const clock = useQuery(clockQuery(project, device));
  if (clock.error && !clock.data) {
    return (
      <Panel title={t('device.clock')}>
        <Failed error={clock.error} retry={() => void clock.refetch()} />
      </Panel>
    );
  }
  if (!clock.data) return null;
  const { held, more_held, stamps } = clock.data;
  const proposals = openProposals(clock.data.proposals);
  if (held.length + proposals.length + stamps.length === 0) return null;
  const place = { project, device, zone };
  return (
    <Panel title={t('device.clock')} flush>
      {proposals.length > 0 ? <Intro>{t('clock.proposals')}</Intro> : null}
      <ul>
        {proposals.map((proposal) => (
          <Proposal key={proposal.id} place={place} proposal={proposal} />
        ))}
      </ul>
      {held.length > 0 ? <Intro>{t('clock.held')}</Intro> : null}
      <ul>
        {held.map((range) => (
          <Held
            key={`${range.epoch} ${range.boot} ${range.first} ${range.reason}`}
            place={place}
            range={range}
          />
        ))}
      </ul>
      {more_held ? <Intro>{t('clock.more_held')}</Intro> : null}
      {stamps.length > 0 ? <Stamps stamps={stamps} zone={zone} /> : null}
    </Panel>
  );
}

function Intro({ children }: { children: ReactNode }) {
  return <p className="border-line border-b px-4 py-2 text-muted">{children}</p>;
}

function Row({ children }: { children: ReactNode }) {
  return (
    <li className="flex flex-col items-start gap-2 border-line border-b px-4 py-3 last:border-b-0">
      {children}
    </li>
  );
}

function Held({ place, range }: { place: Place; range: HeldRecords }) {
  const { project, device, zone } = place;
  const at = (time: string) => formatMoment(Date.parse(time), zone);
  const path = { project, device };
  const records = { epoch: range.epoch, first: range.first, last: range.last };
  const proposed = range.proposed;
  return (
    <Row>
      <p className="font-medium">{recordsWords(range)}</p>
      <p>{t(`clock.held_${range.reason}`)}</p>
      <p className="text-muted tabular-nums">{t('clock.sent', { from: at(range.from), to: at(range.to) })}</p>
      {proposed ? (
        <p className="tabular-nums">
          {t('clock.could_be', {
            from: at(proposed.from),
            to: at(proposed.to),
            error: errorWords(proposed.error_us),
          })}
        </p>
      ) : null}
      <Decide
        place={place}
        yes={proposed ? t('clock.use') : undefined}
        no={t('clock.release')}
        act={(isYes, reason) =>
          isYes && proposed
            ? call(
                api.POST('/api/v1/projects/{project}/devices/{device}/clock/stamps', {
                  params: { path },
                  body: {
                    ...records,
                    reason,
                    offset_us: proposed.offset_us,
                    error_us: proposed.error_us ?? null,
                  },
                }),
              )
            : call(
                api.POST('/api/v1/projects/{project}/devices/{device}/clock/release', {
                  params: { path },
                  body: { ...records, reason },
                }),
              )
        }
      />
    </Row>
  );
}

function Proposal({ place, proposal }: { place: Place; proposal: ClockProposal }) {
  const { project, device } = place;
  const { since, at, wall_us, ticks_us, declared } = proposal.evidence;
  const path = { project, device, proposal: proposal.id };
  return (
    <Row>
      <p className="font-medium">{recordsWords(proposal)}</p>
      <p>
        {t('clock.evidence', { since, at, wall: passedWords(wall_us), ticks: passedWords(ticks_us) })}{' '}
        {declared ? t('clock.declared') : null}
      </p>
      <p>
        {t('clock.would_be', { shift: shiftWords(proposal.offset_us) })}{' '}
        {proposal.open_end ? t('clock.and_on') : null}
      </p>
      <Decide
        place={place}
        yes={t('clock.confirm')}
        no={t('clock.dismiss')}
        act={(isYes, reason) => {
          const order = { params: { path }, body: { reason } };
          return isYes
            ? call(
                api.POST(
                  '/api/v1/projects/{project}/devices/{device}/clock/proposals/{proposal}/confirm',
                  order,
                ),
              )
            : call(
                api.POST(
                  '/api/v1/projects/{project}/devices/{device}/clock/proposals/{proposal}/dismiss',
                  order,
                ),
              );
        }}
      />
    </Row>
  );
}

interface DecideProps {
  place: Place;
  yes: string | undefined;
  no: string;
  act: (isYes: boolean, reason: string) => Promise<unknown>;
}

/** A reason and two ways to go; times are changed in what is shown once the server has done it. */
function Decide({ place: { project, device }, yes, no, act }: DecideProps) {
  const mayWrite = useMayWrite(project);
  const client = useQueryClient();
  const [reason, setReason] = useState('');
  const decide = useMutation({
    mutationFn: (isYes: boolean) => act(isYes, reason.trim()),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ['clock', project, device] });
      await client.invalidateQueries({ queryKey: ['points', project] });
    },
  });
  if (!mayWrite) return null;
  const fault = decide.error instanceof Refused ? decide.error.faults[0]?.reason : undefined;
  const isReady = reason.trim() !== '';
  return (
    <div className="flex w-full max-w-xl flex-col gap-2">
      <TextField
        label={t('clock.reason')}
        hint={t('clock.reason_hint')}
        fault={fault}
        maxLength={500}
        value={reason}
        onChange={(event) => setReason(event.currentTarget.value)}
      />
      {decide.error && fault === undefined ? <Failed error={decide.error} /> : null}
      <div className="flex flex-wrap gap-2">
        {yes ? (
          <Button
            look="primary"
            disabled={!isReady}
            pending={decide.isPending}
            onClick={() => decide.mutate(true)}
          >
            {yes}
          </Button>
        ) : null}
        <Button disabled={!isReady} pending={decide.isPending} onClick={() => decide.mutate(false)}>
          {no}
        </Button>
      </div>
    </div>
  );
}

/** What a device page lists of what was stamped; the API has the rest. */
const LISTED = 5;

function Stamps({ stamps, zone }: { stamps: ClockStamp[]; zone: string }) {
  return (
    <>
      <Intro>{t('clock.stamps')}</Intro>
      <ul>
        {stamps
          .filter((stamp) => !stamp.superseded)
          .slice(0, LISTED)
          .map((stamp) => (
            <li key={stamp.id} className="border-line border-b px-4 py-2 last:border-b-0">
              <span className="font-medium">{recordsWords(stamp)}</span> {t(`clock.stamp_${stamp.cause}`)}:{' '}
              {shiftWords(stamp.offset_us)}, {errorWords(stamp.error_us)}
              <span className="block text-[13px] text-muted">
                {formatMoment(Date.parse(stamp.created), zone)}
                {stamp.reason ? ` · ${stamp.reason}` : null}
              </span>
            </li>
          ))}
      </ul>
    </>
  );
}
