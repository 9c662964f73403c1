// The controls over a chart: range by preset or by date, live or paused, and a button for each thing a drag can do.
import { ToggleButton, ToggleButtonGroup } from 'react-aria-components';
import { useLiveState } from '../../api/LiveProvider';
import { liveView, PRESETS, presetOf, type Range, type View, viewOf } from '../../chart/range';
import { t } from '../../i18n/t';
import { Button } from '../../ui/controls';
import { Left, Live, Minus, Pause, Plus, Right } from '../../ui/icons';
import { useNow } from '../../ui/useNow';
import { RangeDialog } from './RangeDialog';

interface ToolbarProps {
  view: View;
  range: Range;
  zone: string;
  live: boolean;
  /** When the newest value was measured. */
  lastMs: number | null;
  table: boolean;
  go: (view: View) => void;
  pan: (part: number) => void;
  zoom: (factor: number) => void;
  showTable: (table: boolean) => void;
}

const GROUP = 'flex rounded border border-line-strong bg-panel';
const SEGMENT =
  'focus-ring min-h-9 min-w-11 cursor-pointer whitespace-nowrap border-line-strong border-l px-2.5 font-medium first:rounded-l first:border-l-0 last:rounded-r hover:bg-hover data-selected:bg-accent data-selected:text-on-accent forced-colors:data-selected:bg-[SelectedItem] forced-colors:data-selected:text-[SelectedItemText] forced-colors:data-selected:forced-color-adjust-none max-sm:min-w-0 max-sm:px-1 max-[359px]:text-[13px] pointer-coarse:min-h-11';

export function Toolbar(props: ToolbarProps) {
  const { view, range, zone, table, go } = props;
  const preset = presetOf(view);
  return (
    <div className="flex flex-wrap items-center gap-2">
      <ToggleButtonGroup
        aria-label={t('range.title')}
        selectionMode="single"
        disallowEmptySelection
        selectedKeys={preset ? [preset] : []}
        onSelectionChange={(keys) => {
          const [chosen] = keys;
          if (typeof chosen === 'string') go(viewOf({ last: chosen }));
        }}
        className={`${GROUP} max-sm:w-full max-sm:*:flex-1`}
      >
        {PRESETS.map((name) => (
          <ToggleButton key={name} id={name} className={SEGMENT} aria-label={t(`range.long.${name}`)}>
            {t(`range.${name}`)}
          </ToggleButton>
        ))}
      </ToggleButtonGroup>
      <RangeDialog range={range} zone={zone} go={go} />
      <div className="flex">
        <Button look="quiet" more="px-2.5" aria-label={t('range.earlier')} onClick={() => props.pan(-0.5)}>
          <Left />
        </Button>
        <Button look="quiet" more="px-2.5" aria-label={t('range.later')} onClick={() => props.pan(0.5)}>
          <Right />
        </Button>
        <Button look="quiet" more="px-2.5" aria-label={t('range.narrower')} onClick={() => props.zoom(0.5)}>
          <Plus />
        </Button>
        <Button look="quiet" more="px-2.5" aria-label={t('range.wider')} onClick={() => props.zoom(2)}>
          <Minus />
        </Button>
      </div>
      <div className="flex flex-1 items-center justify-between gap-2 max-sm:basis-full">
        <LiveBadge {...props} />
        <ToggleButtonGroup
          aria-label={t('show.title')}
          selectionMode="single"
          disallowEmptySelection
          selectedKeys={[table ? 'table' : 'chart']}
          onSelectionChange={(keys) => props.showTable(keys.has('table'))}
          className={GROUP}
        >
          <ToggleButton id="chart" className={SEGMENT}>
            {t('show.chart')}
          </ToggleButton>
          <ToggleButton id="table" className={SEGMENT}>
            {t('show.table')}
          </ToggleButton>
        </ToggleButtonGroup>
      </div>
    </div>
  );
}

function LiveBadge({ live, range, go }: ToolbarProps) {
  const stream = useLiveState();
  const nowMs = useNow();
  if (!live) {
    // Far in the past the width of the view says nothing about the present; an hour does.
    const near = nowMs - range.to < 10 * (range.to - range.from);
    return (
      <span className="flex items-center gap-2">
        <span className="flex items-center gap-1.5 text-muted">
          <Pause />
          {t('live.paused')}
        </span>
        <Button onClick={() => go(near ? liveView(range) : { kind: 'last', spanMs: 3_600_000 })}>
          <Live />
          {t('live.go')}
        </Button>
      </span>
    );
  }
  return (
    <span
      className={`flex min-h-9 items-center gap-1.5 font-medium ${stream === 'live' ? 'text-reporting' : 'text-muted'}`}
    >
      <Live />
      {t(stream === 'live' ? 'live.on' : 'live.connecting')}
    </span>
  );
}
