// Words for what is wrong with a clock: numbers of microseconds as people say them.
import type { ClockProposal } from '../api/types';
import { t } from '../i18n/t';
import { formatSpan } from '../time/format';

export function recordsWords({ first, last }: { first: number; last: number }): string {
  return first === last ? t('clock.record', { first }) : t('clock.records', { first, last });
}

/** By how much times move, and which way. */
export function shiftWords(us: number): string {
  const span = formatSpan(Math.abs(us) / 1_000);
  return us < 0 ? t('clock.earlier', { span }) : t('clock.later', { span });
}

/** What passed by a clock; a clock may go backwards. */
export function passedWords(us: number): string {
  const span = formatSpan(Math.abs(us) / 1_000);
  return us < 0 ? t('clock.backwards', { span }) : span;
}

export function errorWords(us: number | null | undefined): string {
  return us === null || us === undefined
    ? t('clock.within_unknown')
    : t('clock.within', { span: formatSpan(us / 1_000) });
}

export function openProposals(proposals: ClockProposal[]): ClockProposal[] {
  return proposals.filter((proposal) => proposal.state === 'open');
}
