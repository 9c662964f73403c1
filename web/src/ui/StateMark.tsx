// The state of a device: always shape, word and colour together, because colour alone is not seen by everybody.
import type { DeviceState } from '../api/types';
import { t } from '../i18n/t';
import { Barred, Clock, Dashed, Struck, Tick } from './icons';

const LOOKS: Record<DeviceState, { Shape: typeof Tick; colour: string }> = {
  reporting: { Shape: Tick, colour: 'text-reporting' },
  late: { Shape: Clock, colour: 'text-late' },
  offline: { Shape: Struck, colour: 'text-offline' },
  never_reported: { Shape: Dashed, colour: 'text-never' },
  disabled: { Shape: Barred, colour: 'text-offline' },
};

/** What needs a person first. */
export const URGENCY: DeviceState[] = ['offline', 'late', 'never_reported', 'reporting', 'disabled'];

export function StateMark({ state }: { state: DeviceState }) {
  const { Shape, colour } = LOOKS[state];
  return (
    <span className={`inline-flex items-center gap-1.5 font-medium whitespace-nowrap ${colour}`}>
      <Shape />
      {t(`state.${state}`)}
    </span>
  );
}
