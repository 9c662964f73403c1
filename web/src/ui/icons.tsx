// The few pictures this app uses, as one stroke style. They are decoration: words stand beside each of them.
import type { ReactNode } from 'react';

interface IconProps {
  className?: string;
}

function Stroke({ className = 'size-4', children }: IconProps & { children: ReactNode }) {
  return (
    <svg
      viewBox="0 0 16 16"
      className={`shrink-0 ${className}`}
      fill="none"
      stroke="currentColor"
      strokeWidth="1.5"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

export function Tick(props: IconProps) {
  return (
    <Stroke {...props}>
      <circle cx="8" cy="8" r="6.5" />
      <path d="m5 8.2 2.2 2.200L11.2 6" />
    </Stroke>
  );
}

export function Clock(props: IconProps) {
  return (
    <Stroke {...props}>
      <circle cx="8" cy="8" r="6.5" />
      <path d="M8 4.500V8l2.5 1.5" />
    </Stroke>
  );
}

export function Struck(props: IconProps) {
  return (
    <Stroke {...props}>
      <circle cx="8" cy="8" r="6.5" />
      <path d="m3.5 3.5 9 9" />
    </Stroke>
  );
}

export function Dashed(props: IconProps) {
  return (
    <Stroke {...props}>
      <circle cx="8" cy="8" r="6.5" strokeDasharray="2.6 2.5" />
    </Stroke>
  );
}

export function Barred(props: IconProps) {
  return (
    <Stroke {...props}>
      <rect x="2" y="2" width="12" height="12" rx="2" />
      <path d="M5 8h6" />
    </Stroke>
  );
}

export function Octagon(props: IconProps) {
  return (
    <Stroke {...props}>
      <path d="M5.3 1.500h5.400l3.8 3.800v5.400l-3.8 3.800H5.300L1.5 10.700V5.300z" />
      <path d="M8 4.700v4M8 11.200v.1" />
    </Stroke>
  );
}

export function Left(props: IconProps) {
  return (
    <Stroke {...props}>
      <path d="m10 3-5 5 5 5" />
    </Stroke>
  );
}

export function Right(props: IconProps) {
  return (
    <Stroke {...props}>
      <path d="m6 3 5 5-5 5" />
    </Stroke>
  );
}

export function Plus(props: IconProps) {
  return (
    <Stroke {...props}>
      <path d="M8 3v10M3 8h10" />
    </Stroke>
  );
}

export function Minus(props: IconProps) {
  return (
    <Stroke {...props}>
      <path d="M3 8h10" />
    </Stroke>
  );
}

export function Overview(props: IconProps) {
  return (
    <Stroke {...props}>
      <rect x="2" y="2" width="5" height="5" rx="1" />
      <rect x="9" y="2" width="5" height="5" rx="1" />
      <rect x="2" y="9" width="5" height="5" rx="1" />
      <rect x="9" y="9" width="5" height="5" rx="1" />
    </Stroke>
  );
}

export function Logger(props: IconProps) {
  return (
    <Stroke {...props}>
      <rect x="2.5" y="5" width="11" height="8.5" rx="1.5" />
      <path d="M8 5V2M5.5 9h.1M5.5 11h5M8.5 9h2" />
    </Stroke>
  );
}

export function Person(props: IconProps) {
  return (
    <Stroke {...props}>
      <circle cx="8" cy="5.5" r="2.8" />
      <path d="M2.8 14c.6-2.8 2.7-4 5.2-4s4.6 1.2 5.2 4" />
    </Stroke>
  );
}

export function Folder(props: IconProps) {
  return (
    <Stroke {...props}>
      <path d="M2 4.500v8h12V6H8L6.5 4.500z" />
    </Stroke>
  );
}

export function Key(props: IconProps) {
  return (
    <Stroke {...props}>
      <circle cx="5" cy="11" r="2.6" />
      <path d="M7 9l6-6M10.5 5.500l2 2" />
    </Stroke>
  );
}

export function Copy(props: IconProps) {
  return (
    <Stroke {...props}>
      <rect x="5.5" y="5.5" width="8" height="8" rx="1" />
      <path d="M3.5 10.500h-1v-8h8v1" />
    </Stroke>
  );
}

export function Calendar(props: IconProps) {
  return (
    <Stroke {...props}>
      <rect x="2" y="3" width="12" height="11" rx="1.5" />
      <path d="M2 6.500h12M5 1.500V4M11 1.500V4" />
    </Stroke>
  );
}

export function Live(props: IconProps) {
  return (
    <Stroke {...props}>
      <circle cx="8" cy="8" r="1.8" fill="currentColor" />
      <path d="M4.5 11.500a5 5 0 0 1 0-7M11.5 4.500a5 5 0 0 1 0 7" />
    </Stroke>
  );
}

export function Pause(props: IconProps) {
  return (
    <Stroke {...props}>
      <path d="M5.5 3.500v9M10.5 3.500v9" />
    </Stroke>
  );
}

export function People(props: IconProps) {
  return (
    <Stroke {...props}>
      <circle cx="6" cy="5.500" r="2.500" />
      <path d="M1.500 13.500c.4-2.600 2.100-4 4.500-4s4.100 1.400 4.500 4M10.500 3.200a2.500 2.500 0 0 1 0 4.600M12 9.900c1.400.5 2.300 1.700 2.500 3.600" />
    </Stroke>
  );
}

export function Lines(props: IconProps) {
  return (
    <Stroke {...props}>
      <path d="M2 3.500h.1M5 3.500h9M2 8h.1M5 8h9M2 12.500h.1M5 12.500h9" />
    </Stroke>
  );
}
