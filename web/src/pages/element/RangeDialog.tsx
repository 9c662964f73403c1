// Choosing a range by typing dates, in the project's zone: the alternative to every drag.
import { type FormEvent, useState } from 'react';
import { Dialog, DialogTrigger, Heading, Popover, Button as TriggerButton } from 'react-aria-components';
import { fixedView, type Range, type View } from '../../chart/range';
import { t } from '../../i18n/t';
import { zoneAbbreviation } from '../../time/format';
import { parseWall, writeWall } from '../../time/zone';
import { Button, buttonClass, INPUT } from '../../ui/controls';
import { Calendar } from '../../ui/icons';

interface RangeDialogProps {
  range: Range;
  zone: string;
  go: (view: View) => void;
}

export function RangeDialog({ range, zone, go }: RangeDialogProps) {
  return (
    <DialogTrigger>
      <TriggerButton className={buttonClass()}>
        <Calendar />
        {t('range.choose')}
      </TriggerButton>
      <Popover placement="bottom start" className="rounded border border-line-strong bg-panel text-ink">
        <Dialog className="focus-ring w-72 rounded p-4">
          {({ close }) => (
            <RangeForm
              range={range}
              zone={zone}
              go={(view) => {
                close();
                go(view);
              }}
            />
          )}
        </Dialog>
      </Popover>
    </DialogTrigger>
  );
}

function RangeForm({ range, zone, go }: RangeDialogProps) {
  const [fault, setFault] = useState<string | null>(null);
  // What was shown when the form opened; the live edge must not type over what somebody types.
  const [shown] = useState(range);
  const short = zoneAbbreviation(shown.to, zone);
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const from = parseWall(String(form.get('from')), zone);
    const to = parseWall(String(form.get('to')), zone);
    if (from === null || to === null) setFault(t('range.incomplete'));
    else if (to <= from) setFault(t('range.order'));
    else go(fixedView({ from, to }));
  };
  return (
    <form onSubmit={submit} className="flex flex-col gap-3">
      <Heading slot="title" className="font-semibold text-[15px]">
        {t('range.choose')}
      </Heading>
      {(['from', 'to'] as const).map((end) => (
        <label key={end} className="flex flex-col gap-1 font-medium">
          {t(`range.${end}`)}
          <input
            type="datetime-local"
            name={end}
            step={1}
            required
            defaultValue={writeWall(shown[end], zone)}
            className={INPUT}
          />
        </label>
      ))}
      <p className="text-[13px] text-muted">
        {t('range.zone', { zone: short === zone ? zone : `${zone} (${short})` })}
      </p>
      {fault ? (
        <p role="alert" className="text-alarm">
          {fault}
        </p>
      ) : null}
      <Button type="submit" look="primary">
        {t('range.show')}
      </Button>
    </form>
  );
}
