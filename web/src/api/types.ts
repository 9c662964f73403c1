// The names this app uses for the shapes in the server's OpenAPI document. Nothing else reads the generated file's
// component names, so a rename there is mended here.
import type { components } from './schema';

type Schemas = components['schemas'];

export type Me = Schemas['Me'];
export type Factors = Schemas['Factors'];
export type TotpEnrolment = Schemas['TotpEnrolment'];
export type Project = Schemas['Project'];
export type Device = Schemas['Device'];
export type DeviceState = Device['state'];
export type DeviceClock = Schemas['DeviceClock'];
export type HeldRecords = Schemas['HeldRecords'];
export type ClockProposal = Schemas['ClockProposal'];
export type ClockStamp = Schemas['ClockStamp'];
export type LogLine = Schemas['LogLine'];
export type ClaimLine = Schemas['NewClaimLine'];
export type Series = Schemas['ElementPoints'];
export type Completeness = Schemas['Completeness'];
export type CompleteDay = Schemas['CompleteDay'];
export type MissingCounts = Schemas['Missing'];
export type GapReason = Schemas['GapWord'];
export type Role = Schemas['Role'];
export type Scope = Schemas['Scope'];
export type ApiKey = Schemas['ApiKey'];
export type ServiceAccount = Schemas['ServiceAccount'];
export type ServiceCredential = Schemas['ServiceCredential'];
export type Member = Schemas['Member'];
export type TrailEntry = Schemas['TrailEntry'];
export type Space = Schemas['Space'];

export type Element = Schemas['Element'];
/** The newest value of an element. */
export type Latest = Schemas['NewestValue'];

/** QARTOD flags: 1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing. */
export const FLAG = { pass: 1, notEvaluated: 2, suspect: 3, fail: 4, missing: 9 } as const;
